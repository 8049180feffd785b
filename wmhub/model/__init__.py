"""The world model: features of scheduled programs, the network, and what it is trained for."""
