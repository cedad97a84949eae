"""What training costs: multiply-adds of every step, and an estimate of its time."""
