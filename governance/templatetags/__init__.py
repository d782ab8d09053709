"""What the templates of the console and the admin may say."""
