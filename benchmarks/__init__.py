"""What Warmwire costs, measured against the same thing done directly and through HAProxy and MySQL Router.

    make bench                                          everything; writes docs/performance.md and .json
    .venv/bin/python -m benchmarks --only start,layer   some of it, printed only

Whatever is compared runs in turns within one run, so that a disturbance meets all sides alike, and medians are given
with their quartiles. Ratios of one run are worth more than the absolute figures of any.
"""
