"""Where Bangfu runs: servers for this machine, containers, and what production needs."""
