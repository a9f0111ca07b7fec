"""The ways in which bytes reach a viewer. transport.py says what a stream needs of one."""
