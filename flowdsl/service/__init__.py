"""The port to Amazon SWF: one method (`transport`), a typed façade above it (`swf`), adapters and wrappers beside it.

Nothing here imports the engine, which is one of the things that can stand behind the port, and nothing loads boto3 before a call is made.
"""
