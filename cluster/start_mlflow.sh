#!/usr/bin/env bash
# Starts the head's MLflow server, unless it runs, and ends once it takes requests: the first job
# may follow at once. The server outlives `ray down`.
set -euo pipefail
cd ~/handray
mkdir -p runs
pgrep -f '/mlflow server' > /dev/null ||
    nohup setsid --fork mlflow server --host "$NODE_IP" --port 5000 --workers 1 \
        --backend-store-uri sqlite:///runs/mlflow.db --artifacts-destination runs/mlartifacts \
        > runs/mlflow.log 2>&1 < /dev/null
for _ in {1..180}; do
    if (: > "/dev/tcp/$NODE_IP/5000") 2> /dev/null; then exit 0; fi
    sleep 1
    pgrep -f '/mlflow server' > /dev/null || break
done
tail runs/mlflow.log >&2
echo "the MLflow server takes no requests at $NODE_IP:5000, see above; its log is $PWD/runs/mlflow.log" >&2
exit 1
