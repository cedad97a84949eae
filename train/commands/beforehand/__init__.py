"""What a plan says, and refuses, before anything is packed, selected or trained."""
