"""The command `shufflenet-ros`: one module a verb, which parses, calls and prints."""
