"""What an operator on duty must know: one table of rules, for `bangfu status` and Prometheus."""
