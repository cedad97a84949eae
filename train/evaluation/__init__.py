"""Evaluation: predictions of a run on whole images, tickets and random subsets."""
