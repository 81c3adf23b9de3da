"""What every daemon shares: settings, logs, systemd, the status port, its life."""
