# Made by truss from its templates: what it builds as images of their own, here as stages of one Dockerfile.
#
#     docker build --tag NAME .
#     docker run --publish 127.0.0.1:8080:8080 NAME
#
# settings/ is for builds that need an index, a password or a certificate of yours: pip.conf, uv.env,
# certificates.pem, netrc; wheels/ for packages of yours. They are copied to stages that are not kept.
