# Envoy: CRLs only, of issuer and root.
client=envoy
start_with() {
  cat >envoy.yaml <<CONFIG
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: 8443 } }
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates:
            - certificate_chain: { filename: $work/tls.pem }
              private_key: { filename: $work/tls.key }
            validation_context:
              trusted_ca: { filename: $work/client-ca.pem }
              crl: { filename: $work/crls.pem }
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: welcome
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: welcome } }
CONFIG
  exec /w/bin/envoy --config-path "$work/envoy.yaml" --concurrency 1 --log-level warn --base-id 1
}
. /interop/terminator.sh
version "$(/w/bin/envoy --version | sed -n 's|.*version: [0-9a-f]*/\([0-9.]*\)/.*|\1|p')"
judge none
cannot OCSP "envoy asks no responder about clients"
