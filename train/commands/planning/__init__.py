"""What a plan is made of: its images, its selector, what is said of it, and how long it takes."""
