"""Age from a 12-lead ECG."""
