"""What each key uses: counted as tasks are answered, kept by day and model in a database."""
