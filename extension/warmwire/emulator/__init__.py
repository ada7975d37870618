"""A local Lambda for development: runs a function and its extensions through Init, Invoke, freeze and Shutdown.

Never part of the layer. ``phases`` says which API call is legal when, ``rendezvous`` is where calls and phases meet,
``api`` and ``telemetry`` are the HTTP sides, ``processes`` starts and stops what runs, ``environment`` joins them.
"""
