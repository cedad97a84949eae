"""The commands pack, inspect, compare, verify, export and join."""
