"""Node: registered with a namespace and an account of its own, and watched for its agent's heartbeat."""
