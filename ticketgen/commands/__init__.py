"""The commands generate and labels."""
