-- Node types, the pure nodes, and registered nodes.

--!include 30_workflows/nodes/node_types.sql
--!include 30_workflows/nodes/wait_types.sql
--!include 30_workflows/nodes/credential_slots.sql
--!include 30_workflows/nodes/ports.sql
--!include 30_workflows/nodes/pure_nodes.sql
--!include 30_workflows/nodes/merge.sql
--!include 30_workflows/nodes/register_node.sql
--!include 30_workflows/nodes/run_pure.sql
