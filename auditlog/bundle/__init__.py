"""What is put into an export bundle as it is: the program that checks it without Grace."""
