
from .disposal import dispose_file as dispose_file
from .disposal import dispose_files as dispose_files
from .dustbin import clean_dustbin as clean_dustbin
from .dustbin import sweep_dustbin as sweep_dustbin
from .quarantine import quarantine_file as quarantine_file
from .associations import process_dicom_association as process_dicom_association
from .files import process_dicom_file as process_dicom_file
from .spool import reconcile_spool as reconcile_spool
from .sweeps import sweep_associations as sweep_associations
from .deliveries import deliver_batch as deliver_batch
from .deliveries import replay_deliveries as replay_deliveries
