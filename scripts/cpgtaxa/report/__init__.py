"""What a person looks at: the HTML report, the summary for the terminal, and the tables and figures behind them."""
