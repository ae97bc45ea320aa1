"""The process that holds the model. Standard library only, Python 3.9 and newer."""
