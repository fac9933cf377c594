"""A unit of somebody else's, declared outside the project: what a plug-in looks like."""
