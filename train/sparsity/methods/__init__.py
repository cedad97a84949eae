"""The hooks that keep weights masked in training: fixed masks, and methods that change them."""
