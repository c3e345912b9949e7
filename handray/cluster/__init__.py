"""The Ray skin: where the work of the lower floors is done."""
