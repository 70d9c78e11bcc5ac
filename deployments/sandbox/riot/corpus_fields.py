"""Names of the fields that a participant has at Riot, by kind of value and by when they came and went."""

#: Whole numbers that nothing else depends on, with the largest that is drawn.
COUNTS = {
    "allInPings": 4, "assistMePings": 9, "basicPings": 0, "baronKills": 1, "champExperience": 18_000,
    "commandPings": 12, "consumablesPurchased": 7, "damageDealtToBuildings": 9_000, "damageDealtToObjectives": 30_000,
    "damageDealtToTurrets": 9_000, "damageSelfMitigated": 60_000, "dangerPings": 3, "detectorWardsPlaced": 9,
    "doubleKills": 2, "dragonKills": 2, "enemyMissingPings": 15, "enemyVisionPings": 5, "getBackPings": 4,
    "goldSpent": 14_000, "holdPings": 3, "inhibitorKills": 1, "inhibitorTakedowns": 2, "inhibitorsLost": 2,
    "itemsPurchased": 32, "killingSprees": 4, "largestCriticalStrike": 1_400, "largestKillingSpree": 8,
    "largestMultiKill": 3, "longestTimeSpentLiving": 900, "magicDamageDealt": 160_000,
    "magicDamageDealtToChampions": 24_000, "magicDamageTaken": 19_000, "needVisionPings": 2, "nexusKills": 0,
    "nexusLost": 1, "nexusTakedowns": 1, "objectivesStolen": 1, "objectivesStolenAssists": 0, "onMyWayPings": 30,
    "pentaKills": 0, "physicalDamageDealt": 170_000, "physicalDamageDealtToChampions": 24_000,
    "physicalDamageTaken": 25_000, "pushPings": 2, "quadraKills": 0, "sightWardsBoughtInGame": 0, "spell1Casts": 260,
    "spell2Casts": 190, "spell3Casts": 160, "spell4Casts": 30, "summoner1Casts": 7, "summoner2Casts": 7,
    "timeCCingOthers": 60, "totalDamageDealt": 220_000, "totalDamageShieldedOnTeammates": 4_000,
    "totalDamageTaken": 40_000, "totalHeal": 16_000, "totalHealsOnTeammates": 3_000, "totalTimeCCDealt": 800,
    "totalTimeSpentDead": 400, "totalUnitsHealed": 5, "tripleKills": 1, "trueDamageDealt": 18_000,
    "trueDamageDealtToChampions": 2_500, "trueDamageTaken": 2_800, "turretKills": 3, "turretTakedowns": 5,
    "turretsLost": 11, "unrealKills": 0, "visionClearedPings": 1, "visionWardsBoughtInGame": 9, "wardsKilled": 9,
    "wardsPlaced": 30,
}  # fmt: skip

FLAGS = ("firstBloodAssist", "firstBloodKill", "firstTowerAssist", "firstTowerKill")

#: Not there before 2023, when pings were added.
SINCE_2023 = (
    "allInPings", "assistMePings", "basicPings", "commandPings", "dangerPings", "enemyMissingPings", "enemyVisionPings",
    "getBackPings", "holdPings", "needVisionPings", "onMyWayPings", "pushPings", "visionClearedPings",
)  # fmt: skip

#: Shares, times and rates among the challenges; all others are whole numbers.
CHALLENGE_RATES = {
    "alliedJungleMonsterKills": 80, "bountyGold": 900, "controlWardTimeCoverageInRiverOrEnemyHalf": 1,
    "damageTakenOnTeamPercentage": 0.4, "earliestDragonTakedown": 1_500, "earlyLaningPhaseGoldExpAdvantage": 1,
    "effectiveHealAndShielding": 6_000, "enemyJungleMonsterKills": 20, "firstTurretKilledTime": 1_000,
    "jungleCsBefore10Minutes": 60, "maxCsAdvantageOnLaneOpponent": 60, "moreEnemyJungleThanOpponent": 30,
    "teamDamagePercentage": 0.4, "visionScoreAdvantageLaneOpponent": 2, "visionScorePerMinute": 2.5,
    "HealFromMapSources": 2_000, "shortestTimeToAceFromFirstTakedown": 20,
}  # fmt: skip

_CHALLENGES = """
    12AssistStreakCount InfernalScalePickup SWARM_DefeatAatrox SWARM_DefeatBriar SWARM_DefeatMiniBosses
    SWARM_EvolveWeapon SWARM_Have3Passives SWARM_KillEnemy SWARM_PickupGold SWARM_ReachLevel50 SWARM_Survive15Min
    SWARM_WinWith5EvolvedWeapons abilityUses acesBefore15Minutes baronTakedowns blastConeOppositeOpponentCount
    buffsStolen completeSupportQuestInTime controlWardsPlaced dancedWithRiftHerald deathsByEnemyChamps
    dodgeSkillShotsSmallWindow doubleAces dragonTakedowns elderDragonKillsWithOpposingSoul elderDragonMultikills
    enemyChampionImmobilizations epicMonsterKillsNearEnemyJungler epicMonsterKillsWithin30SecondsOfSpawn
    epicMonsterSteals epicMonsterStolenWithoutSmite firstTurretKilled fistBumpParticipation flawlessAces
    fullTeamTakedown getTakedownsInAllLanesEarlyJungleAsLaner hadOpenNexus highestCrowdControlScore
    immobilizeAndKillWithAlly initialBuffCount initialCrabCount junglerTakedownsNearDamagedEpicMonster
    kTurretsDestroyedBeforePlatesFall killAfterHiddenWithAlly killedChampTookFullTeamDamageSurvived killingSprees
    killsNearEnemyTurret killsOnOtherLanesEarlyJungleAsLaner killsOnRecentlyHealedByAramPack killsUnderOwnTurret
    killsWithHelpFromEpicMonster knockEnemyIntoTeamAndKill landSkillShotsEarlyGame laneMinionsFirst10Minutes
    laningPhaseGoldExpAdvantage legendaryCount lostAnInhibitor maxKillDeficit maxLevelLeadLaneOpponent
    mejaisFullStackInTime multiKillOneSpell multiTurretRiftHeraldCount multikills multikillsAfterAggressiveFlash
    outerTurretExecutesBefore10Minutes outnumberedKills outnumberedNexusKill perfectDragonSoulsTaken perfectGame
    pickKillWithAlly playedChampSelectPosition poroExplosions quickCleanse quickFirstTurret quickSoloKills
    riftHeraldTakedowns saveAllyFromDeath scuttleCrabKills skillshotsDodged skillshotsHit snowballsHit soloBaronKills
    soloKills stealthWardsPlaced survivedSingleDigitHpCount survivedThreeImmobilizesInFight takedownOnFirstTurret
    takedownsAfterGainingLevelAdvantage takedownsBeforeJungleMinionSpawn takedownsFirstXMinutes takedownsInAlcove
    takedownsInEnemyFountain teamBaronKills teamElderDragonKills teamRiftHeraldKills teleportTakedowns
    tookLargeDamageSurvived turretPlatesTaken turretTakedowns turretsTakenWithRiftHerald twentyMinionsIn3SecondsCount
    twoWardsOneSweeperCount unseenRecalls voidMonsterKill wardTakedowns wardTakedownsBefore20M wardsGuarded
"""
CHALLENGE_COUNTS = tuple(_CHALLENGES.split())
#: Those that are there or not, 1 or 0.
CHALLENGE_FLAGS = ("highestCrowdControlScore", "laningPhaseGoldExpAdvantage", "playedChampSelectPosition")

ITEMS = (0, 1001, 1055, 2055, 3006, 3020, 3031, 3036, 3047, 3071, 3078, 3089, 3111, 3157, 6653, 6655, 6672, 6692)
TRINKETS = (3340, 3363, 3364)
SPELLS = (4, 7, 11, 12, 14, 21)
ARAM_SPELLS = (4, 7, 32)
#: Runes of each tree, keystones first.
RUNES = {
    8000: (8005, 9101, 9104, 8014), 8100: (8112, 8143, 8138, 8135), 8200: (8214, 8226, 8210, 8237),
    8300: (8351, 8306, 8345, 8347), 8400: (8437, 8446, 8429, 8451),
}  # fmt: skip
OBJECTIVES = {"baron": 1, "dragon": 4, "horde": 6, "inhibitor": 2, "riftHerald": 1, "tower": 9}
FEATS = ("EPIC_MONSTER_KILL", "FIRST_BLOOD", "FIRST_TURRET")
