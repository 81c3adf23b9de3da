"""The `daiic` command: one file a subcommand, `app` puts them together."""
