"""Whether a packet that begins a connection passes, and which rule says so.

Pure: from objects of the API to an answer.
"""
