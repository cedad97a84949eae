"""Weight tickets: masks of a network's weights as files, and what runs record of them."""
