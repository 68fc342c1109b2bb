"""The core of Peyk: from one phone's socket, through PostgreSQL, to the other phone's socket.

The route of a message, file by file:
    gateway/commands.py   the commands of one frame, strictly in order
    rpc.py                known method, allowed, decoded; a refusal becomes an error reply
    messages/sending.py   is the body acceptable; hand it to the log
    log/committer.py      many sends, one statement, one commit; dense seq and ev
    delivery/fanout.py    encode once; whose topics hear of it
    gateway/hub.py        topic -> sessions of this node; one write per session and turn
"""
