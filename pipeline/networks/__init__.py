"""The networks that both stages use, and the strict loading of their weights. The only torch in the contract."""
