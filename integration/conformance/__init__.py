"""dockerd's part of the plugin protocol, played release by release, and the kernel after each step.

    dockerd = Dockerd(RELEASES["29"], host, daemon.plugin_socket)
    blue = dockerd.create(NetworkSpec(name="blue", v4=(Subnet(pool="10.1.0.0/24"),)))
    web = dockerd.run("web", EndpointSpec(network=blue))

`dockerd.py` has the order of the calls, `driver.py` and `ipam.py` their shapes, `client.py` the
bytes on the wire, `sandbox.py` what dockerd itself does in the kernel.
Source: moby pkg/plugins and libnetwork of 20.10, 24.0, 27.5, 28.5 and 29.7.

Not here: a real engine (`integration/docker`).
"""
