"""From a step to the text, and back."""
