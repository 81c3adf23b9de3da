"""How fast each worker is with a model: what `daiic bench` and the gateway's page measure."""
