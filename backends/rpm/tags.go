package rpm

// tag is the number of a value in a header (rpm: include/rpm/rpmtag.h).
type tag uint32

// Tags of every header.
const (
	tagOldRegion       tag = 61
	tagSignatureRegion tag = 62
	tagHeaderRegion    tag = 63
	tagI18nTable       tag = 100
)

// Tags of the signature header (rpm: rpmSigTag_e). Those from 1000 on mean other
// things in the header, and are not in format 6.
const (
	sigDSAHeader        tag = 267
	sigRSAHeader        tag = 268
	sigSHA1             tag = 269
	sigLongSize         tag = 270
	sigLongArchiveSize  tag = 271
	sigSHA256           tag = 273
	sigFileSignatures   tag = 274
	sigVeritySignatures tag = 276
	sigOpenPGP          tag = 278
	sigSHA3             tag = 279
	sigReserved         tag = 999
	sigFirstLegacy      tag = 1000
	sigSize             tag = 1000
	sigPGP              tag = 1002
	sigMD5              tag = 1004
	sigGPG              tag = 1005
	sigPGP5             tag = 1006
	sigPayloadSize      tag = 1007
	sigReservedSpace    tag = 1008
)

// Tags of the header.
const (
	tagName              tag = 1000
	tagVersion           tag = 1001
	tagRelease           tag = 1002
	tagEpoch             tag = 1003
	tagSummary           tag = 1004
	tagDescription       tag = 1005
	tagBuildTime         tag = 1006
	tagBuildHost         tag = 1007
	tagInstallTime       tag = 1008 // only of an installed package, as the states are
	tagSize              tag = 1009
	tagDistribution      tag = 1010
	tagVendor            tag = 1011
	tagLicense           tag = 1014
	tagPackager          tag = 1015
	tagGroup             tag = 1016
	tagURL               tag = 1020
	tagOS                tag = 1021
	tagArch              tag = 1022
	tagPre               tag = 1023
	tagPost              tag = 1024
	tagPreun             tag = 1025
	tagPostun            tag = 1026
	tagOldFileNames      tag = 1027
	tagFileSizes         tag = 1028
	tagFileStates        tag = 1029
	tagFileModes         tag = 1030
	tagFileRdevs         tag = 1033
	tagFileMtimes        tag = 1034
	tagFileDigests       tag = 1035
	tagFileLinkTos       tag = 1036
	tagFileFlags         tag = 1037
	tagFileUserName      tag = 1039
	tagFileGroupName     tag = 1040
	tagSourceRPM         tag = 1044
	tagArchiveSize       tag = 1046
	tagProvideName       tag = 1047
	tagRequireFlags      tag = 1048
	tagRequireName       tag = 1049
	tagRequireVersion    tag = 1050
	tagConflictFlags     tag = 1053
	tagConflictName      tag = 1054
	tagConflictVersion   tag = 1055
	tagRPMVersion        tag = 1064
	tagTriggerScripts    tag = 1065
	tagTriggerName       tag = 1066
	tagTriggerVersion    tag = 1067
	tagTriggerFlags      tag = 1068
	tagTriggerIndex      tag = 1069
	tagVerify            tag = 1079
	tagChangelogTime     tag = 1080
	tagChangelogName     tag = 1081
	tagChangelogText     tag = 1082
	tagPreProg           tag = 1085
	tagPostProg          tag = 1086
	tagPreunProg         tag = 1087
	tagPostunProg        tag = 1088
	tagObsoleteName      tag = 1090
	tagVerifyProg        tag = 1091
	tagTriggerProg       tag = 1092
	tagFileDevices       tag = 1095
	tagFileInodes        tag = 1096
	tagSourcePackage     tag = 1106
	tagProvideFlags      tag = 1112
	tagProvideVersion    tag = 1113
	tagObsoleteFlags     tag = 1114
	tagObsoleteVersion   tag = 1115
	tagDirIndexes        tag = 1116
	tagBaseNames         tag = 1117
	tagDirNames          tag = 1118
	tagOptFlags          tag = 1122
	tagPayloadFormat     tag = 1124
	tagPayloadCompressor tag = 1125
	tagPayloadFlags      tag = 1126
	tagPlatform          tag = 1132
	tagPretrans          tag = 1151
	tagPosttrans         tag = 1152
	tagPretransProg      tag = 1153
	tagPosttransProg     tag = 1154
	tagDistTag           tag = 1155

	tagLongFileSizes           tag = 5008
	tagLongSize                tag = 5009
	tagFileCaps                tag = 5010
	tagFileDigestAlgo          tag = 5011
	tagBugURL                  tag = 5012
	tagVCS                     tag = 5034
	tagRecommendName           tag = 5046
	tagRecommendVersion        tag = 5047
	tagRecommendFlags          tag = 5048
	tagSuggestName             tag = 5049
	tagSuggestVersion          tag = 5050
	tagSuggestFlags            tag = 5051
	tagSupplementName          tag = 5052
	tagSupplementVersion       tag = 5053
	tagSupplementFlags         tag = 5054
	tagEnhanceName             tag = 5055
	tagEnhanceVersion          tag = 5056
	tagEnhanceFlags            tag = 5057
	tagFileTriggerScripts      tag = 5066
	tagFileTriggerProg         tag = 5067
	tagFileTriggerName         tag = 5069
	tagFileTriggerIndex        tag = 5070
	tagFileTriggerVersion      tag = 5071
	tagFileTriggerFlags        tag = 5072
	tagTransFileTriggerScripts tag = 5076
	tagTransFileTriggerProg    tag = 5077
	tagTransFileTriggerName    tag = 5079
	tagTransFileTriggerIndex   tag = 5080
	tagTransFileTriggerVersion tag = 5081
	tagTransFileTriggerFlags   tag = 5082
	tagPayloadSHA256           tag = 5092
	tagPayloadSHA256Algo       tag = 5093
	tagModularityLabel         tag = 5096
	tagPayloadSHA256Alt        tag = 5097
	tagPreuntrans              tag = 5103
	tagPostuntrans             tag = 5104
	tagPreuntransProg          tag = 5105
	tagPostuntransProg         tag = 5106
	tagPayloadLongSize         tag = 5112
	tagPayloadLongSizeAlt      tag = 5113
	tagRPMFormat               tag = 5114
	tagSourceNEVR              tag = 5120
	tagPayloadSHA512           tag = 5121
	tagPayloadSHA512Alt        tag = 5122
	tagPayloadSHA3             tag = 5123
	tagPayloadSHA3Alt          tag = 5124
)
