"""The commands of the command line, one file each; ``earwitness.cli`` lists them."""
