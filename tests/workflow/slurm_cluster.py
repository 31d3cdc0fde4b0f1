"""A real SLURM cluster of one node, for tests: its own folder, ports and key, nothing of the system's is touched.

Debian's packages slurm-wlm and munge are all it needs. It runs as whoever starts it. Without accounting, as many small
clusters are.

    python tests/workflow/slurm_cluster.py FOLDER      starts one, says how to use it, and stops it on Ctrl-C
"""

import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# Works without systemd and without a tree of control groups.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
AccountingStorageType=accounting_storage/none
# The node may promise more than the machine has, so that requests made for servers are scheduled here too.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MpiDefault=none
MailProg=/bin/true
# Without accounting, finished jobs must stay in squeue until Snakemake has asked for them.
MinJobAge=100000
InactiveLimit=0
KillWait=3
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=65536 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=node1 Default=YES MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP
PartitionName=gpu Nodes=node1 MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP
"""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if lacking:
        return f"no SLURM here ({', '.join(lacking)} missing: Debian's packages slurm-wlm and munge)"
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        return f"SLURM needs the host name {socket.gethostname()} to resolve (a line in /etc/hosts)"
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """Started on entry, stopped with all its jobs on exit. `environment` holds what clients need."""

    def __init__(self, folder, cpus: int = 8):
        self.folder = pathlib.Path(folder).resolve()
        self.cpus = cpus
        self.environment = os.environ | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(self.folder / "bin"), PATH]),
        }
        self._daemons: list[subprocess.Popen] = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munge refuses a socket in a folder that others may write to
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(exist_ok=True)
        # Snakemake takes SLURM's variables away from srun, and with them the way to a configuration in another place.
        wrapper = self.folder / "bin/srun"
        wrapper.write_text(
            f"#!/bin/sh\nSLURM_CONF='{self.folder}/slurm.conf' exec '{shutil.which('srun', path=PATH)}' \"$@\"\n"
        )
        wrapper.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        (self.folder / "slurm.conf").write_text(
            CONFIG.format(
                host=host,
                user=getpass.getuser(),
                folder=self.folder,
                cpus=self.cpus,
                ctld_port=_free_port(),
                slurmd_port=_free_port(),
            )
        )
        # Without a graphics card at hand, any device can stand for one.
        (self.folder / "gres.conf").write_text("NodeName=node1 Name=gpu File=/dev/null\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self._daemon(
            "munged",
            "--foreground",
            "--force",
            f"--socket={self.folder}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={self.folder}/munge.pid",
            f"--log-file={self.folder}/munge.log",
            f"--seed-file={self.folder}/munge.seed",
        )
        self._wait(lambda: (self.folder / "munge.socket").exists(), "munge does not start")
        self._daemon("slurmctld", "-D", "-i")
        self._wait(lambda: self.run("scontrol", "ping").returncode == 0, "slurmctld does not start")
        self._daemon("slurmd", "-D", "-N", "node1")
        self._wait(lambda: self.state() == "idle", "the node does not become idle")

    def _daemon(self, name, *arguments):
        log = open(self.folder / f"{name}.out", "ab")  # noqa: SIM115 - the process's own from here
        command = [shutil.which(name, path=PATH), *arguments]
        self._daemons.append(
            subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, start_new_session=True)
        )

    def _wait(self, ready, problem, seconds=60):
        until = time.monotonic() + seconds
        while not ready():
            dead = [process.args[0] for process in self._daemons if process.poll() is not None]
            if dead or time.monotonic() > until:
                texts = [path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log"))]
                texts += [path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.out"))]
                raise RuntimeError(f"{problem} (ended: {dead})\n" + "\n".join(texts))
            time.sleep(0.2)

    def run(self, *command) -> subprocess.CompletedProcess:
        """Run a client such as squeue in this cluster."""
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)

    def state(self) -> str:
        """State of the node: idle, mixed, allocated, drained …"""
        return self.run("sinfo", "-h", "-N", "-n", "node1", "-o", "%T").stdout.split("\n")[0].strip()

    def jobs(self) -> list[dict]:
        """All jobs SLURM still remembers: id, state, comment (holds the rule's name), minutes, partition, memory."""
        keys = ("id", "state", "limit", "partition", "memory", "gres", "comment")
        text = self.run("squeue", "-h", "-a", "--states=all", "-o", "%i|%T|%l|%P|%m|%b|%k").stdout
        return [dict(zip(keys, line.split("|"), strict=True)) for line in text.splitlines()]

    def __exit__(self, *_):
        self.run("scancel", "--user", getpass.getuser())
        for process in reversed(self._daemons):
            process.terminate()
        for process in reversed(self._daemons):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    if why := missing():
        sys.exit(why)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Cluster(sys.argv[1]) as cluster:
        print(f"ready: export SLURM_CONF={cluster.folder}/slurm.conf", flush=True)
        signal.pause()
