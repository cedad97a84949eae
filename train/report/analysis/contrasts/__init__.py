"""What is found about the runs of a group: verdicts, differences between rows, null hypotheses, runs side by side."""
