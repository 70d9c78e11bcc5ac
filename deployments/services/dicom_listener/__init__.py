"""The DICOM listener: `python -m deployments.services.dicom_listener`.

A process beside Prefect. It takes C-STORE and C-ECHO, answers a C-STORE with success only when the file and its ledger
row are durable, and goes on doing so while Prefect, its API or its workers are away.

pynetdicom negotiates and keeps the state machine; the way of the bytes is our own: P-DATA goes from the socket straight
into a file of the spool, threads wait for events instead of polling, and every wait on a peer has an end.
"""
