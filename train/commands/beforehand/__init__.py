"""What a plan refuses before anything is packed, selected or trained."""
