# A Cloud SQL instance with Managed Connection Pooling.
resource "google_sql_database_instance" "upstream" {
  name                = "upstream-prod"
  region              = "us-central1"
  database_version    = "POSTGRES_18"
  deletion_protection = true

  settings {
    edition = "ENTERPRISE_PLUS"
    tier    = "db-perf-optimized-N-2"

    connection_pool_config {
      connection_pooling_enabled = true

      flags {
        name  = "pool_mode"
        value = "transaction"
      }

      flags {
        name  = "max_pool_size"
        value = "20"
      }
    }

    # Without this block: a public address, no private one, and optional TLS.
    # The network needs private services access first.
    ip_configuration {
      ipv4_enabled    = false
      private_network = "projects/my-project/global/networks/default"
      ssl_mode        = "ENCRYPTED_ONLY"
    }
  }
}
