"""`python -m vit_tickets.train`: the train command, for torchrun."""

from vit_tickets.train.commands.train import train

if __name__ == "__main__":
    train(prog_name="python -m vit_tickets.train")
