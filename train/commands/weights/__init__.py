"""The commands about weight tickets."""
