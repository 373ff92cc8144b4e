"""What payout decides: a file for each step, pure throughout."""
