"""What only a real browser can show: keys, colours, contrast, the content security policy."""
