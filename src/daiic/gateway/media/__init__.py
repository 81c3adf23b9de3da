"""Images and recordings in conversations: from what clients send, or name by URL, to tasks."""
