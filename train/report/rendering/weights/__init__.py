"""What is found about runs with fewer weights, in words, tables and files."""
