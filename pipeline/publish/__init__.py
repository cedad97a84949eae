"""Archives: tickets as one file for publication, and manifests made from such files."""
