"""What tasks bring besides text: checked before anything reads it."""
